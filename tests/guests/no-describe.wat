;; Does not export "pointsman_describe".
