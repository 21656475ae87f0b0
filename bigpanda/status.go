package bigpanda

// Statuses are the values that an alert's status may have (reference/alerts).
var Statuses = []string{"ok", "critical", "warning", "unknown", "acknowledged"}
