import malha.runtime  # noqa: F401 - before grpc, which reads its settings when it is first imported
