// Command dashboard writes the Grafana dashboard of bigpanda-udf on stdout. It is a
// module of its own, as the program needs none of Grafana's packages:
//
//	go run . > ../grafana-dashboard.json
package main

//lint:file-ignore SA1019 what Grafana calls version 1 is what each Grafana imports; 2 takes Grafana 12

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// uses selects what the variables of the dashboard do.
const uses = `{job=~"$job",instance=~"$instance",task=~"$task"}`

func main() {
	text, err := generate()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
	os.Stdout.Write(text)
}

// generate returns the dashboard as Grafana imports it.
func generate() ([]byte, error) {
	d, err := dashboard.NewDashboardBuilder("bigpanda-udf").
		Uid("bigpanda-udf").
		Description("Alerts on their way from Kapacitor to BigPanda.").
		Tags([]string{"kapacitor", "bigpanda"}).
		Refresh("30s").
		Time("now-6h", "now").
		Timezone(common.TimeZoneBrowser).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(variable("job", "Job", "label_values(bigpanda_udf_up, job)")).
		WithVariable(variable("instance", "Host", `label_values(bigpanda_udf_up{job=~"$job"}, instance)`)).
		WithVariable(variable("task", "Task", `label_values(bigpanda_udf_up{job=~"$job",instance=~"$instance"}, task)`)).
		WithRow(dashboard.NewRowBuilder("Is everything delivered?")).
		WithPanel(number("Oldest waits", "s", 60, 300, "max(bigpanda_udf_oldest_queued_age_seconds"+uses+")")).
		WithPanel(number("Queued", "short", 1000, 100000, "sum(bigpanda_udf_queued_alerts"+uses+")")).
		WithPanel(number("Held", "short", 0.5, 1, "sum(bigpanda_udf_held"+uses+") or vector(0)")).
		WithPanel(number("Dead letters", "short", 1, 100, "sum(bigpanda_udf_kept_dead_letters"+uses+")")).
		WithPanel(number("Disk refuses", "short", 0.5, 1, "sum(bigpanda_udf_disk_refuses"+uses+")")).
		WithPanel(number("No process", "short", 1, 1000, "count(bigpanda_udf_up"+uses+" == 0) or vector(0)")).
		WithPanel(graph("Oldest queued alert", "s", "{{task}} {{node}}", "max by (task, node) (bigpanda_udf_oldest_queued_age_seconds"+uses+")")).
		WithPanel(graph("Queued alerts", "short", "{{task}} {{node}}", "sum by (task, node) (bigpanda_udf_queued_alerts"+uses+")")).
		WithPanel(graph("Requests by outcome", "reqps", "{{outcome}}", "sum by (outcome) (rate(bigpanda_udf_requests_total"+uses+"[$__rate_interval])) > 0")).
		WithPanel(graph("Alerts", "short", "", "").
			WithTarget(query("delivered", "sum(rate(bigpanda_udf_alerts_delivered_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("had already", "sum(rate(bigpanda_udf_alerts_duplicate_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("sent again", "sum(rate(bigpanda_udf_alerts_retried_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("refused for good", "sum(rate(bigpanda_udf_dead_letters_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("given up", "sum(rate(bigpanda_udf_given_up_total"+uses+"[$__rate_interval]))"))).
		WithRow(dashboard.NewRowBuilder("How fast?")).
		WithPanel(quantiles("From point to disk", "bigpanda_udf_point_to_durable_seconds_bucket")).
		WithPanel(quantiles("From disk to BigPanda", "bigpanda_udf_durable_to_delivered_seconds_bucket")).
		WithPanel(quantiles("Requests to BigPanda", "bigpanda_udf_request_duration_seconds_bucket")).
		WithRow(dashboard.NewRowBuilder("What comes in?")).
		WithPanel(graph("Points", "short", "{{task}} {{node}}", "sum by (task, node) (rate(bigpanda_udf_points_total"+uses+"[$__rate_interval]))")).
		WithPanel(graph("Changes by level", "short", "{{level}}", "sum by (level) (rate(bigpanda_udf_changes_total"+uses+"[$__rate_interval]))")).
		WithPanel(graph("Active alerts by level", "short", "{{level}}", "sum by (level) (bigpanda_udf_active_alerts"+uses+")")).
		WithPanel(graph("Points and changes that make no alert, and templates that fail", "short", "", "").
			WithTarget(query("no level", "sum(rate(bigpanda_udf_points_without_level_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("unknown level", "sum(rate(bigpanda_udf_points_unknown_level_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("too old", "sum(rate(bigpanda_udf_changes_too_old_total"+uses+"[$__rate_interval]))")).
			WithTarget(query("template failures", "sum(rate(bigpanda_udf_template_failures_total"+uses+"[$__rate_interval]))"))).
		WithRow(dashboard.NewRowBuilder("Where is it kept?")).
		WithPanel(graph("Size of the outboxes", "bytes", "{{task}} {{node}}", "sum by (task, node) (bigpanda_udf_outbox_size_bytes"+uses+")")).
		WithPanel(graph("Room on their disks", "bytes", "{{instance}}", "min by (instance) (bigpanda_udf_outbox_free_bytes"+uses+")")).
		WithPanel(graph("Processes by version", "short", "{{version}}", "sum by (version) (bigpanda_udf_build_info"+uses+")")).
		Build()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

func source() common.DataSourceRef {
	kind, uid := "prometheus", "${datasource}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}

func variable(name, label, values string) *dashboard.QueryVariableBuilder {
	all := ".*"
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).
		Query(dashboard.StringOrMap{String: &values}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).Multi(true).IncludeAll(true).AllValue(all)
}

func query(legend, expression string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(expression).LegendFormat(legend)
}

// number shows one number, green below warn and red from bad on.
func number(title, unit string, warn, bad float64, expression string) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Span(4).Height(4).Datasource(source()).Unit(unit).
		Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
			{Color: "green"}, {Value: &warn, Color: "orange"}, {Value: &bad, Color: "red"},
		})).
		WithTarget(query("", expression).Instant())
}

func graph(title, unit, legend, expression string) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Span(12).Height(8).Datasource(source()).Unit(unit).Min(0)
	if expression != "" {
		p = p.WithTarget(query(legend, expression))
	}
	return p
}

// quantiles shows how long most, and nearly all, of something takes.
func quantiles(title, buckets string) *timeseries.PanelBuilder {
	of := func(q string) string {
		return "histogram_quantile(" + q + ", sum by (le) (rate(" + buckets + uses + "[$__rate_interval])))"
	}
	return timeseries.NewPanelBuilder().Title(title).Span(8).Height(8).Datasource(source()).Unit("s").Min(0).
		WithTarget(query("half", of("0.5"))).WithTarget(query("99 of 100", of("0.99")))
}
