"""The command line without installation: `python cli.py --help`."""

from lightning_tasks.cli import command

if __name__ == "__main__":
    command()
