package e2e

import (
	"fmt"
	"testing"
	"time"
)

// Tasks in which the levels alone do not tell where an incident begins: BigPanda
// is told of each by the function, as by the native handler.
func TestIncidentsAsTheNativeHandler(t *testing.T) {
	t.Parallel()
	needNativeHandler(t)
	native, panda := startBigPanda(t), startBigPanda(t)
	config := functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": "memory"})
	config["bigpanda"] = nativeSection(native)
	k := startKapacitor(t, config)
	native.failure, panda.failure = k.failure, k.failure
	for _, test := range []struct {
		name    string
		source  string
		alert   string
		handOn  string
		spacing time.Duration
		usages  []int
		want    []string
	}{
		{
			name:    "the level in a tag, and a group of all tags",
			source:  `.groupBy(*)`,
			alert:   `.stateChangesOnly()`,
			handOn:  `.idTag('alertID').levelTag('level').messageField('message').durationField('duration')`,
			spacing: 10 * time.Second,
			usages:  []int{10, 95, 10, 95, 10},
			want:    []string{"critical", "ok", "critical", "ok"},
		},
		{
			name:    "no recoveries, an incident of one point a day",
			source:  `.groupBy('host')`,
			alert:   `.stateChangesOnly(15m).noRecoveries().topic('days')`,
			handOn:  conventional,
			spacing: 24 * time.Hour,
			usages:  []int{10, 95, 10, 95, 10, 95},
			want:    []string{"critical", "critical", "critical"},
		},
		{
			name:    "no recoveries, incidents that last",
			source:  `.groupBy('host')`,
			alert:   `.stateChangesOnly(15m).noRecoveries().topic('long')`,
			handOn:  conventional,
			spacing: 10 * time.Minute,
			usages:  []int{95, 95, 10, 95, 95, 10, 95},
			want:    []string{"critical", "critical", "critical"},
		},
		{
			name:    "an OK that falls into flapping",
			source:  `.groupBy('host')`,
			alert:   `.flapping(0.25, 0.5).history(5).topic('flaps')`,
			handOn:  conventional,
			spacing: 10 * time.Minute,
			usages:  []int{95, 10, 95, 10, 95, 10, 10, 10, 10, 10, 10, 95},
			want:    []string{"critical", "ok", "critical"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, native, panda := k.in(t), native.in(t), panda.in(t)
			native.Reset()
			panda.Reset()
			k.define(comparedTask, "var alerts = stream|from().measurement('cpu')"+test.source+
				`|alert().crit(lambda: "usage" > 90)`+test.alert+test.handOn+".bigPanda()\nalerts@bigpanda()")
			defer k.delete(comparedTask)
			var points []string
			for i, usage := range test.usages {
				at := epoch.Add(time.Duration(i-len(test.usages)) * test.spacing)
				points = append(points, fmt.Sprintf("cpu,host=a usage=%d %d", usage, at.UnixNano()))
			}
			k.write(points...)
			wantStatuses(t, native.waitForCount(len(test.want)), test.want...)
			wantStatuses(t, panda.waitForCount(len(test.want)), test.want...)
		})
	}
}
