;; Does not export "pointsman_retry".
