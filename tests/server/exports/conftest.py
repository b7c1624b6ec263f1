from tests.fl_app.tabular.conftest import one_thread

__all__ = ["one_thread"]
