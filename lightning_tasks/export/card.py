"""The model card of an exported network, as Markdown."""

from typing import Any

FILES = {
    "predict.py": "classifies images: `python predict.py photos`",
    "model.onnx": "ONNX, float32, any batch size",
    "model_int8.onnx": "ONNX, weights and activations in 8 bits",
    "model.pt2": "`torch.export.load(...).module()`, any batch size",
    "model.safetensors": "the weights of the network alone; without the normalisation",
}
MANY = 20  # classes that are listed


def card(facts: dict[str, Any]) -> str:
    """Write the card.

    Args:
        facts: See `lightning_tasks.export.export`.
    """
    channels, height, width = facts["image_shape"]
    classes, names = facts["classes"], ", ".join(facts["classes"][:MANY])
    more = f" and {len(classes) - MANY} more, all in model.json" if len(classes) > MANY else ""
    return "\n".join(
        [
            f"# {facts['network']}, {len(classes)} classes of {facts['dataset']}",
            "",
            f"- input `images`: (batch, {channels}, {height}, {width}), floats in [0, 1]; normalisation is inside (mean"
            f" {facts['mean']}, standard deviation {facts['std']})",
            f"- output `logits`: (batch, {len(classes)}); classes in order: {names}{more}",
            f"- {facts['parameters']:,} parameters; {facts['weights']}",
            f"- licence: {facts['licence']}",
            f"- trained by `{facts['trained_by']}`",
            f"- exported by `{facts['exported_by']}`",
            "",
            table(facts),
            "",
            "```python",
            "from predict import load  # predict.py of this folder: onnxruntime, NumPy and Pillow only",
            "model = load()",
            "model.probabilities(images)  # (batch, classes) of uint8 images",
            "```",
            "",
            *(f"- `{name}`: {what}" for name, what in FILES.items()),
            "",
        ]
    )


def table(facts: dict[str, Any]) -> str:
    """Write sizes, accuracies, differences and speeds as a table."""
    lines = [
        "| | size, kB | test accuracy, % | greatest difference of logits | images/s, one by one, one thread |",
        "|---|---|---|---|---|",
    ]
    for name, row in facts["measured"].items():
        size = f"{row['bytes'] / 1e3:,.0f}" if "bytes" in row else "-"
        right = f"{100 * row['accuracy']:.2f}" if "accuracy" in row else "-"
        difference = f"{row['difference']:.1e}" if "difference" in row else "-"
        lines.append(f"| {name} | {size} | {right} | {difference} | {row['images_per_second']:,.0f} |")
    return "\n".join([*lines, "", f"On {facts['compared_on']}; int8 calibrated on {facts['calibrated_on']}."])
