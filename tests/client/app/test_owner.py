"""What the owner's side of an answer shares with the guard that started the process."""

from client.app import owner
from client.site import app_guard
from fl_app.system import home


def test_the_guard_and_the_app_agree_on_their_names() -> None:
    """The guard is a script that imports the packages late, so it has names of its own."""
    assert app_guard.VERIFIED == owner.VERIFIED_APP
    assert app_guard._LOG_FILE == home.LOG_FILE
