"""The `nnpf` command: one module per subcommand."""
