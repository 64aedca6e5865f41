"""The subcommands of `gateway`, one module each; `gateway.cli` imports the one that is asked for."""
