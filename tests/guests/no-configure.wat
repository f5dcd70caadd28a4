;; Does not export "pointsman_configure".
