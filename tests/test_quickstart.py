import json
from pathlib import Path

import quickstart


def test_runs_what_is_missing_and_prints_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(quickstart, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    commands = []

    def fake_main(words):
        commands.append(words)
        experiment = Path(words[1]).stem
        name, size = ("network", 1000) if experiment == "teacher_digits" else ("student", 200)
        run = tmp_path / "logs" / experiment / "version_0"
        run.mkdir(parents=True)
        card = {"parameters": {name: size}, "metrics": {"test/acc": 0.98}, "seconds": 3.0}
        if experiment == "dfad_plus_digits":
            teacher = next(word for word in words if word.startswith("--model.teacher_ckpt=")).split("=")[1]
            card["teacher_ckpt"] = f"{teacher}/checkpoints/best.ckpt"
        (run / "run.json").write_text(json.dumps(card))

    monkeypatch.setattr(quickstart, "main", fake_main)
    quickstart.quickstart()
    out = capsys.readouterr().out
    assert [Path(words[1]).stem for words in commands] == ["teacher_digits", "dfad_plus_digits"]
    assert all("--ckpt_path=last" in words for words in commands)
    assert "20.0%" in out
    assert "98.00%" in out
    assert "logs/dfad_plus_digits/version_0/figures" in out
    newer = tmp_path / "logs/teacher_digits/version_1"
    newer.mkdir()
    (newer / "run.json").write_text(
        json.dumps({"parameters": {"network": 1}, "metrics": {"test/acc": 0.11}, "seconds": 1})
    )
    quickstart.quickstart()
    assert len(commands) == 2  # nothing is trained twice
    assert "11.00%" not in capsys.readouterr().out  # the student's own teacher is shown, not the newest
