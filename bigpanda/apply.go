package bigpanda

import "slices"

// The properties that Apply makes up when none that the payload or the identity
// names can hold a value, such as a primary property that was the status.
const (
	ownPrimary   = "identity_primary"
	ownSecondary = "identity_secondary"
)

// Apply changes the payload so that BigPanda takes it for the alert i: after it
// p.Identity().Key() equals i.Key(), whatever p held before. It changes as
// little as it can, nothing when the keys are equal already, and never the
// status or the timestamp. Properties is changed in place, so it must not be
// shared with another payload.
func (i Identity) Apply(p *Payload) {
	i = i.valid()
	if p.Identity().Key() == i.Key() {
		return
	}
	p.Properties = withValidNames(p.Properties)
	if p.Properties == nil {
		p.Properties = make(map[string]string)
	}
	if validText(p.AppKey) != i.AppKey {
		p.AppKey = i.AppKey
	}
	if i.Incident != "" {
		p.Properties[nameIncident] = i.Incident
		return
	}
	delete(p.Properties, nameIncident)

	// First find a property for each value, so that neither takes the other's
	// place nor one that must be empty; then make BigPanda look there.
	now := p.Identity()
	primary, secondary := "", ""
	if i.PrimaryValue != "" {
		primary = p.holder(i.PrimaryValue, []string{now.Primary, i.Primary, ownPrimary}, func(name string) bool {
			return i.SecondaryValue != "" || !slices.Contains(secondaryDefaults, name)
		})
	}
	if i.SecondaryValue != "" {
		secondary = p.holder(i.SecondaryValue, []string{now.Secondary, i.Secondary, ownSecondary, ownSecondary + "_2"}, func(name string) bool {
			if i.PrimaryValue == "" && slices.Contains(primaryDefaults, name) {
				return false
			}
			return name != primary || i.PrimaryValue == i.SecondaryValue
		})
	}
	p.put(primary, i.PrimaryValue)
	p.put(secondary, i.SecondaryValue)
	for range 2 { // a chooser is a property itself, which the other chooser may name
		if primary != "" && p.Identity().Primary != primary {
			p.Properties[namePrimary] = primary
		}
		if secondary != "" && p.Identity().Secondary != secondary {
			p.Properties[nameSecondary] = secondary
		}
	}
	// Last, since a chooser that was set just now may be what is to be removed.
	if primary == "" {
		p.unset(namePrimary, primaryDefaults)
	}
	if secondary == "" {
		p.unset(nameSecondary, secondaryDefaults)
	}
}

// holder returns which of the properties names shall hold value. The first is
// the one in force, which serves only if it holds the value already; of the
// others, the first that holds it or can be made to. The last name must pass.
func (p *Payload) holder(value string, names []string, allowed func(name string) bool) string {
	for n, name := range names {
		switch {
		case name == "", name == namePrimary, name == nameSecondary, name == nameIncident:
			continue // changed by Apply itself
		case (n == 0 || ofRequest(name)) && p.value(name) != value:
			continue
		case allowed(name):
			return name
		}
	}
	return ""
}

// put gives a property a value that it does not have yet.
func (p *Payload) put(name, value string) {
	if name != "" && p.value(name) != value {
		p.Properties[name] = value
	}
}

// unset removes what makes BigPanda find a primary (or secondary) property.
func (p *Payload) unset(chooser string, defaults []string) {
	for _, name := range defaults {
		delete(p.Properties, name)
	}
	if p.value(p.value(chooser)) != "" {
		delete(p.Properties, chooser)
	}
}
