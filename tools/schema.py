"""Writes a JSON schema of the experiment configs, by which an editor completes and checks them: `make schema`."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from lightning_tasks.cli.main import main

OTHER_CLASS = {
    "type": "object",
    "properties": {"class_path": {"type": "string", "pattern": r"^(?!lightning_tasks\.).+\."}},
    "required": ["class_path"],
}
PARTS = ("student_training", "generator_training", "objective")


def loosen(node: Any) -> Any:
    """Adapt jsonargparse's schema to what its parser really accepts.

    It knows full class paths only, where the parser also takes the bare name of a class or the name of another file;
    it requires the class of a part that has a default, and arguments that links or the code fill in; it takes schedules
    and augmentations, which may be of several kinds, for mere strings; and it knows no networks but this project's.
    """
    if isinstance(node, list):
        return [loosen(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: loosen(value) for key, value in node.items()}
    if isinstance(node.get("required"), list):
        node["required"] = [name for name in node["required"] if name == "class_path"]
    if any("$ref" in choice or "$ref" in (choice.get("items") or ()) for choice in node.get("anyOf", ())):
        node["anyOf"].append({"type": "string", "pattern": r"\.yaml$"})
    properties = node.get("properties", {})
    for name in properties:
        if name.startswith(("scheduler", "augment")):
            properties[name] = {}
        if name in ("network", "teacher", "student") and "anyOf" in properties[name]:
            properties[name]["anyOf"].append(OTHER_CLASS)
        if name in PARTS and "$ref" in properties[name]:  # whose class need not be named
            ref = properties[name].pop("$ref")
            properties[name]["anyOf"] = [{"$ref": ref}, {"$ref": f"{ref}/anyOf/1/properties/init_args"}]
    path = properties.get("class_path")
    if isinstance(path, dict) and "const" in path:
        full = path.pop("const")
        path["enum"] = [full, full.rsplit(".", 1)[-1]]
    return node


def config_schema() -> dict[str, Any]:
    """Build the schema of a config file that is given after a subcommand."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(["--print_completion=jsonschema"], run=False)
    return loosen(json.loads(out.getvalue()))


if __name__ == "__main__":
    target = Path(sys.argv.pop(1))
    target.write_text(json.dumps(config_schema()))
    print(f"{target}: name it in the first line of a config, # yaml-language-server: $schema={target.name}")
