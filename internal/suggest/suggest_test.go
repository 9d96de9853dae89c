package suggest

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"cross_entropy", "forward_kl", "reverse_kl", "generalized_jsd", "skew_kl"}
	for name, want := range map[string]string{
		"forward_lk":      "forward_kl", // swapped letters count once
		"Forward-KL":      "forward_kl",
		"crossentropy":    "cross_entropy",
		"jsd":             "generalized_jsd",
		"generalised_jsd": "generalized_jsd",
		"revers_kl":       "reverse_kl",
		"hidden_mse":      "",
		"skew_cl":         "skew_kl",
		"kl":              "", // which of three?
		"x":               "",
		"":                "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"adamv", []string{"adam", "adamw"}, `optimizer: have "adamv", did you mean "adam"? known: adam, adamw`},
		{"zzz", []string{"adam", "adamw"}, `optimizer: have "zzz", known: adam, adamw`},
		{"mu", nil, `optimizer: have "mu", want none`},
	} {
		if got := Unknown("optimizer", c.name, c.known).Error(); got != c.want {
			t.Errorf("have %s\nwant %s", got, c.want)
		}
	}
}
