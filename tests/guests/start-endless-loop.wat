;; Never comes to an end of its start function.
(func $start (loop $forever (br $forever)))
(start $start)
