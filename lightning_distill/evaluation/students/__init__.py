"""Student networks: training protocol, trainer, evaluator."""
