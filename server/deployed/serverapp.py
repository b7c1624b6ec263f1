"""Flower's ``flwr-serverapp``, for one run and no other.

An executor is handed whatever run waits on the SuperLink, with the code that came with it: another modeller's, one
left behind, or one that somebody has submitted to have his code run here. So the modeller's executor finds this in the
place of ``flwr-serverapp``; it fails a run that is not the modeller's before that run's code is even unpacked.

Run as a script, and without this product's packages: the ServerApp's own come from its bundle.
"""

import sys
from pathlib import Path
from typing import Any


def main(run_id: int, own: Path) -> None:
    """Carry out the ServerApp that the arguments describe if it belongs to ``run_id``, and say so in ``own``."""
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.cli import flwr_serverapp

    # The package has a function of the same name, which hides its module.
    module: Any = sys.modules["flwr.superlink.runtime.run_serverapp"]
    install = module.install_from_fab

    def install_own(*arguments: Any, **settings: Any) -> Any:
        if TaskIdentity.run_id != run_id:
            raise PermissionError(f"this executor carries out run {run_id} only")
        own.write_text("taken", "utf-8")
        return install(*arguments, **settings)

    module.install_from_fab = install_own
    flwr_serverapp()


if __name__ == "__main__":
    mine, mark = int(sys.argv.pop(1)), Path(sys.argv.pop(1))
    main(mine, mark)
