package cli

import (
	"fmt"
	"slices"

	"kdistill/internal/report"
	"kdistill/internal/tokenizer"
)

// finding is one line of the compatibility report.
type finding struct {
	Verdict verdict `json:"verdict"`
	Subject string  `json:"subject"`
	Text    string  `json:"text"`
}

type verdict string

const (
	fits    verdict = "ok"
	warns   verdict = "warning"
	refuses verdict = "refused"
)

type findings []finding

func (f *findings) add(v verdict, subject, format string, args ...any) {
	*f = append(*f, finding{v, subject, fmt.Sprintf(format, args...)})
}

// compare says whether a student can learn from a teacher's distributions.
func compare(teacher, student *description) findings {
	var f findings
	if f.tokens(teacher, student) {
		f.vocabularies(teacher, student)
	}
	if low := min(student.Positions, teacher.Positions); student.Positions == teacher.Positions {
		f.add(fits, "positions", "both models have %d: data.sequence_length above that is refused", low)
	} else {
		f.add(warns, "positions", "the teacher has %d, the student %d: data.sequence_length above %d is refused", teacher.Positions, student.Positions, low)
	}
	if student.Parameters >= teacher.Parameters {
		f.add(warns, "size", "the student has %s parameters, not fewer than the teacher's %s",
			report.Count(int64(student.Parameters)), report.Count(int64(teacher.Parameters)))
	}
	return f
}

// tokens finds whether the ids of both can mean the same.
func (f *findings) tokens(teacher, student *description) bool {
	t, s := teacher.pretrained.Tokenizer, student.pretrained.Tokenizer
	if t != nil && s != nil {
		if difference := tokenizer.Difference(t, s); difference != "" {
			f.add(refuses, "token ids", "the tokenizers (of the teacher, then of the student) differ: %s", difference)
			return false
		}
		f.add(fits, "token ids", "the tokenizers are the same")
		f.specialTokens(t, s)
		return true
	}
	lacks := "neither folder"
	if t != nil {
		lacks = "only the teacher's folder"
	} else if s != nil {
		lacks = "only the student's folder"
	}
	if teacher.Vocabulary != student.Vocabulary {
		f.add(refuses, "token ids", "%s has a tokenizer, and the vocabularies differ (%d and %d ids): nothing tells that their ids mean the same",
			lacks, teacher.Vocabulary, student.Vocabulary)
		return false
	}
	f.add(warns, "token ids", "%s has a tokenizer: make sure yourself that ids mean the same to both", lacks)
	if s == nil {
		f.add(warns, "data", "without the student's tokenizer only data of token ids can be used")
	}
	return true
}

func (f *findings) specialTokens(t, s *tokenizer.Tokenizer) {
	before := len(*f)
	for _, special := range []struct {
		name string
		of   func(*tokenizer.Tokenizer) int32
	}{{"start", (*tokenizer.Tokenizer).BOS}, {"end", (*tokenizer.Tokenizer).EOS}, {"padding", (*tokenizer.Tokenizer).PAD}, {"unknown", (*tokenizer.Tokenizer).UNK}} {
		if a, b := special.of(t), special.of(s); a != b {
			f.add(warns, "special tokens", "the %s token is %s to the teacher, %s to the student: the student's is used", special.name, showToken(t, a), showToken(s, b))
		}
	}
	if !slices.Equal(t.Prefix(), s.Prefix()) || !slices.Equal(t.Suffix(), s.Suffix()) {
		f.add(warns, "special tokens", "a text stands between the ids %v and %v for the teacher, %v and %v for the student: both will meet it as the student's tokenizer makes it",
			t.Prefix(), t.Suffix(), s.Prefix(), s.Suffix())
	}
	if len(*f) == before {
		f.add(fits, "special tokens", "start, end, padding, unknown and what stands round a text are the same")
	}
}

func showToken(t *tokenizer.Tokenizer, id int32) string {
	if id < 0 {
		return "none"
	}
	text, _ := t.Token(id)
	return fmt.Sprintf("%d %q", id, text)
}

func (f *findings) vocabularies(teacher, student *description) {
	if teacher.Vocabulary == student.Vocabulary {
		f.add(fits, "vocabulary", "both models have %d ids", student.Vocabulary)
	} else {
		f.add(warns, "vocabulary", "the teacher has %d ids, the student %d: terms that compare with the teacher use the first %d, cross-entropy all of the student's",
			teacher.Vocabulary, student.Vocabulary, min(teacher.Vocabulary, student.Vocabulary))
	}
	for _, d := range []*description{teacher, student} {
		if t := d.Tokenizer; t != nil && t.Vocabulary > d.Vocabulary {
			f.add(warns, "vocabulary", "the tokenizer of %s has %d ids, the model %d: data that holds one of the others is refused", d.Path, t.Vocabulary, d.Vocabulary)
		}
	}
}

func printFindings(s streams, all findings) error {
	rows := [][]string{{"verdict", "subject", "why"}}
	worst := fits
	for _, f := range all {
		rows = append(rows, []string{string(f.Verdict), f.Subject, f.Text})
		if f.Verdict == refuses || worst == fits {
			worst = f.Verdict
		}
	}
	fmt.Fprintln(s.out)
	if err := report.Table(s.out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "\n"+map[verdict]string{
		fits:    "The student can learn from this teacher.",
		warns:   "The student can learn from this teacher; mind the warnings.",
		refuses: "kdistill train refuses this pair.",
	}[worst])
	return err
}
