;; Wants its memory from the host.
(import "env" "memory" (memory 2))
