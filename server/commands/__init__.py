"""The modeller's and the operator's commands, one a file. `fl_app.cli` imports each when it is called."""
