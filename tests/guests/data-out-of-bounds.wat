;; Its data begins within its memory and ends beyond it.
(data (i32.const 131070) "beyond")
