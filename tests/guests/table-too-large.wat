;; Wants a table of a million places.
(table 1000000 funcref)
