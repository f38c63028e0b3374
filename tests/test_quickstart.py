import json
from pathlib import Path

import quickstart


def test_runs_what_is_missing_and_prints_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(quickstart, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(quickstart, "ROOT", tmp_path)
    commands = []

    def fake_main(words, cli_class):
        commands.append(words)
        assert cli_class.say_next(None, "best") is None  # what comes next is the quick start's to say
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
    assert not any("--ckpt_path=last" in words for words in commands)  # of which there is none
    assert out.index("1 of 2: a teacher") < out.index("2 of 2: a student") < out.index("20.0%")
    assert max(map(len, out.splitlines())) <= 80
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


def test_goes_on_with_what_has_begun(monkeypatch, tmp_path):
    monkeypatch.setattr(quickstart, "LOGS", tmp_path / "logs")
    run = tmp_path / "logs/teacher_digits/version_0"
    run.mkdir(parents=True)
    commands = []

    def fake_main(words, cli_class):
        commands.append(words)
        (run / "run.json").write_text("{}")

    monkeypatch.setattr(quickstart, "main", fake_main)
    assert quickstart.train("teacher_digits") == run
    assert commands[0][-1] == "--ckpt_path=last"
