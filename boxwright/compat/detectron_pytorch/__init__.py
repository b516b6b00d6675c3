"""The command lines of Detectron.pytorch's `tools`: the same flags, over Boxwright."""
