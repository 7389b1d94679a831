"""The commands of `cinefeat`, a few to a module; `cinefeat.pipeline.cli.COMMANDS` lists them."""
