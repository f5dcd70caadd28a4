;; Does not export "pointsman_alloc".
