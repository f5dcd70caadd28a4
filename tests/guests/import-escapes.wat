;; Wants something whose name would turn the terminal red.
(import "\1b[31m" "red\0a" (func))
