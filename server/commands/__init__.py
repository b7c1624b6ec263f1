"""The modeller's commands, one a file; `fl_app.cli` opens them through doors."""
