package udf

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkTemplates renders templates as they are written.
func BenchmarkTemplates(b *testing.B) {
	data := attributeData{}
	data.ID, data.Level, data.Message = "cpu:host=a", "CRITICAL", "cpu:host=a is CRITICAL"
	data.Time = time.Unix(1_700_000_000, 0).UTC()
	data.Tags, data.Fields = map[string]string{"host": "a"}, map[string]any{"value": 1.5}
	for i := range 10 {
		data.Tags[fmt.Sprint("tag", i)] = "value"
	}
	for _, bm := range []struct{ name, text string }{
		{"plain", "{{ .ID }} is {{ .Level }} on {{ .Tags.host }}"},
		{"functions", `{{ if eq .Level "CRITICAL" }}{{ printf "%.2f" .Fields.value }}{{ else }}{{ html .Message }}{{ end }} at {{ .Time.Format "15:04:05" }}`},
		{"range", `<ul>{{ range $k, $v := .Tags }}{{ if ne $k "host" }}<li>{{ $k }}: {{ html $v }}</li>{{ end }}{{ end }}</ul>`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			t, err := compile(bm.text, attributeNames, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := render(t, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
