;; Does not export "pointsman_score".
