"""What the commands do once their arguments are known to be sound: a module a command, all of which need Keras."""
