package bigpanda

import (
	"encoding/json"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   Payload
		want Identity
	}{
		{"nothing", Payload{}, Identity{}},
		{"host goes before service, check before sensor",
			Payload{AppKey: "k", Properties: map[string]string{"service": "s", "host": "h", "sensor": "x", "check": "c"}},
			Identity{AppKey: "k", Primary: "host", PrimaryValue: "h", Secondary: "check", SecondaryValue: "c"}},
		{"service goes before application",
			Payload{Properties: map[string]string{"device": "d", "application": "a", "service": "s", "sensor": "x"}},
			Identity{Primary: "service", PrimaryValue: "s", Secondary: "sensor", SecondaryValue: "x"}},
		{"application goes before device",
			Payload{Properties: map[string]string{"device": "d", "application": "a"}},
			Identity{Primary: "application", PrimaryValue: "a"}},
		{"device", Payload{Properties: map[string]string{"device": "d"}}, Identity{Primary: "device", PrimaryValue: "d"}},
		{"an empty property is not there",
			Payload{Properties: map[string]string{"host": "", "device": "d", "check": "", "primary_property": "", "incident_identifier": ""}},
			Identity{Primary: "device", PrimaryValue: "d"}},
		{"named properties go before the defaults",
			Payload{Properties: map[string]string{"primary_property": "task", "task": "t", "host": "h", "secondary_property": "region", "region": "r", "check": "c"}},
			Identity{Primary: "task", PrimaryValue: "t", Secondary: "region", SecondaryValue: "r"}},
		{"a named property that is not in the payload does not count",
			Payload{Properties: map[string]string{"primary_property": "task", "host": "h", "secondary_property": "region", "sensor": "x"}},
			Identity{Primary: "host", PrimaryValue: "h", Secondary: "sensor", SecondaryValue: "x"}},
		{"there is no primary property",
			Payload{Properties: map[string]string{"primary_property": "cluster", "check": "c"}},
			Identity{Secondary: "check", SecondaryValue: "c"}},
		{"one property may be both",
			Payload{Properties: map[string]string{"primary_property": "check", "check": "c"}},
			Identity{Primary: "check", PrimaryValue: "c", Secondary: "check", SecondaryValue: "c"}},
		{"status and timestamp are in the payload",
			Payload{Status: "ok", Timestamp: 7, Properties: map[string]string{"primary_property": "status", "secondary_property": "timestamp", "host": "h", "status": "x", "timestamp": "y"}},
			Identity{Primary: "status", PrimaryValue: "ok", Secondary: "timestamp", SecondaryValue: "7"}},
		{"so is the app key, but no property that is not sent",
			Payload{AppKey: "k", Properties: map[string]string{"primary_property": "app_key", "secondary_property": "alerts", "app_key": "x", "alerts": "y"}},
			Identity{AppKey: "k", Primary: "app_key", PrimaryValue: "k"}},
		{"an incident identifier does not hide whether there is a primary property",
			Payload{AppKey: "k", Properties: map[string]string{"incident_identifier": "i", "host": "h"}},
			Identity{AppKey: "k", Incident: "i", Primary: "host", PrimaryValue: "h"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.in.Identity()
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			var stored Identity
			if err := json.Unmarshal([]byte(jsonText(t, got)), &stored); err != nil || stored != got {
				t.Errorf("stored as JSON it comes back as %+v, %v", stored, err)
			}
		})
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		a, b Identity
		same bool
	}{
		{"the names of the properties do not matter",
			Identity{AppKey: "k", Primary: "host", PrimaryValue: "a", Secondary: "check", SecondaryValue: "c"},
			Identity{AppKey: "k", Primary: "device", PrimaryValue: "a", Secondary: "sensor", SecondaryValue: "c"}, true},
		{"another app key is another alert",
			Identity{AppKey: "k", PrimaryValue: "a"}, Identity{AppKey: "l", PrimaryValue: "a"}, false},
		{"another primary value is another alert",
			Identity{PrimaryValue: "a"}, Identity{PrimaryValue: "b"}, false},
		{"another secondary value is another alert",
			Identity{PrimaryValue: "a", SecondaryValue: "c"}, Identity{PrimaryValue: "a"}, false},
		{"an incident identifier replaces the properties",
			Identity{AppKey: "k", Incident: "i", PrimaryValue: "a"}, Identity{AppKey: "k", Incident: "i", PrimaryValue: "b", SecondaryValue: "c"}, true},
		{"another incident identifier is another alert",
			Identity{AppKey: "k", Incident: "i"}, Identity{AppKey: "k", Incident: "j"}, false},
		{"an incident identifier holds within its app key",
			Identity{AppKey: "k", Incident: "i"}, Identity{AppKey: "l", Incident: "i"}, false},
		{"values do not run into each other",
			Identity{AppKey: "k", PrimaryValue: "a1:b", SecondaryValue: ""}, Identity{AppKey: "k", PrimaryValue: "a", SecondaryValue: "b"}, false},
		{"nor with the app key",
			Identity{AppKey: "ab", PrimaryValue: "c"}, Identity{AppKey: "a", PrimaryValue: "bc"}, false},
		{"an incident identifier is no primary value",
			Identity{AppKey: "k", Incident: "a"}, Identity{AppKey: "k", PrimaryValue: "a"}, false},
		{"NUL is a character like others",
			Identity{PrimaryValue: "a\x00", SecondaryValue: "b"}, Identity{PrimaryValue: "a", SecondaryValue: "\x00b"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.Key() == tt.b.Key(); got != tt.same {
				t.Errorf("%q and %q: same is %v, want %v", tt.a.Key(), tt.b.Key(), got, tt.same)
			}
			for _, i := range []Identity{tt.a, tt.b} {
				parsed := ParseKey(i.Key(), i.Primary, i.Secondary)
				if parsed.Key() != i.Key() || i.Incident == "" && parsed != i {
					t.Errorf("%+v comes back from its key as %+v", i, parsed)
				}
			}
		})
	}
}
