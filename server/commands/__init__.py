"""The modeller's commands, one a file; `fl_app.cli` names them, and imports each when it is called."""
