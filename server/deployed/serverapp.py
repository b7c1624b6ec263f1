"""Flower's ``flwr-serverapp``, for one run and no other.

An executor is handed whatever run is pending on the SuperLink, with the code that came with it: another modeller's, an
abandoned one, or one that somebody submitted to have code run on this machine. So the modeller's executor finds this
script in place of ``flwr-serverapp``. It fails any other run before the run's code is even unpacked.

It runs as a script, without the packages of this project: the ServerApp's own come from its bundle.

``run_serverapp.install_from_fab`` and ``TaskIdentity.run_id`` are internals of Flower;
``test_a_deployed_run_after_one_that_was_left_behind`` fails if a later Flower no longer passes through them.
"""

import sys
from pathlib import Path
from typing import Any


def main(run_id: int, claim: Path) -> None:
    """Run the ServerApp that the arguments describe if it belongs to ``run_id``, and write so to the file ``claim``."""
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.superlink.cli import flwr_serverapp

    # Through sys.modules, because the package has a function of the same name that hides the module.
    module: Any = sys.modules["flwr.superlink.runtime.run_serverapp"]
    install = module.install_from_fab

    # Unpacking is the first step after Flower knows which run it has, and before any of the run's code is imported.
    def install_own_run(*arguments: Any, **settings: Any) -> Any:
        if TaskIdentity.run_id != run_id:
            raise PermissionError(f"this executor carries out run {run_id} only")
        claim.write_text("claimed", "utf-8")
        return install(*arguments, **settings)

    module.install_from_fab = install_own_run
    flwr_serverapp()


if __name__ == "__main__":
    main(int(sys.argv.pop(1)), Path(sys.argv.pop(1)))
