module bigpanda-udf-dashboard

go 1.25.7

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
