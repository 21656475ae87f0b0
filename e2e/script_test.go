package e2e

// levels makes the levels of the field usage.
const levels = `
        .info(lambda: "usage" > 70)
        .warn(lambda: "usage" > 80)
        .crit(lambda: "usage" > 90)`

// thresholds is levels with a message that tells the level.
const thresholds = levels + `
        .message('{{ .ID }} went to {{ .Level }}')`

// conventional hands on what the alert node knows, under the names that the
// function reads with no option.
const conventional = `
        .levelField('level')
        .idTag('alertID')
        .messageField('message')
        .durationField('duration')`

// cpuAlert is a task up to its alert node: an alert for the CPU of each host,
// with the node's properties.
func cpuAlert(properties string) string {
	return `
stream
    |from()
        .measurement('cpu')
        .groupBy('host')
    |alert()` + properties
}

// withOptions is a task that ends in @bigpanda() with the options.
func withOptions(options string) string {
	return cpuAlert(thresholds+conventional) + `
    @bigpanda()` + options
}

// withTopic is a task that ends in @bigpanda(), and whose alert node keeps its
// state over a restart.
func withTopic() string {
	return cpuAlert(`
        .topic('cpu')`+thresholds+conventional) + `
    @bigpanda()`
}
