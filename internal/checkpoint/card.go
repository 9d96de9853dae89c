package checkpoint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Card is what a model card (README.md) tells about a distilled model. Empty fields are left out.
type Card struct {
	Name      string // title
	BaseModel string // what the student was made from, org/name or a folder
	Teachers  []CardTeacher
	Data      []string   // files or data sets, one line each
	Losses    []string   // one line each, as "0.5 × forward_kl (temperature 2)"
	Columns   []string   // heads of the figures, the first one of the row names
	Figures   [][]string // rows
}

// CardTeacher is a teacher of a distilled model.
type CardTeacher struct {
	Path string // org/name or a folder
	Note string // "": none
	Hash string // Folder.Hash
}

func (t CardTeacher) String() string {
	text := "`" + shortName(t.Path) + "`"
	if t.Note != "" {
		text += ", " + t.Note
	}
	if t.Hash != "" {
		text += fmt.Sprintf(" (SHA-256 of its configuration and weights: `%s`)", t.Hash)
	}
	return text
}

// Text returns the card in Markdown with the YAML header that the Hugging Face hub reads. Of folders only the last name is told.
func (c Card) Text() string {
	var b strings.Builder
	b.WriteString("---\nlibrary_name: transformers\n")
	if c.BaseModel != "" {
		fmt.Fprintf(&b, "base_model: %s\n", strconv.Quote(strings.Split(shortName(c.BaseModel), "@")[0]))
	}
	b.WriteString("tags:\n- kdistill\n- knowledge-distillation\n---\n\n")
	fmt.Fprintf(&b, "# %s\n\nTrained with kdistill", oneLine(c.Name))
	if len(c.Teachers) == 1 {
		fmt.Fprintf(&b, " by distillation from the teacher %s", c.Teachers[0])
	}
	b.WriteString(".\n")
	if len(c.Teachers) > 1 {
		var lines []string
		for _, t := range c.Teachers {
			lines = append(lines, t.String())
		}
		list(&b, "Teachers", lines)
	}
	list(&b, "Data", c.Data)
	list(&b, "Losses", c.Losses)
	if len(c.Figures) > 0 {
		b.WriteString("\n## Figures\n\n")
		row(&b, c.Columns)
		row(&b, slices.Repeat([]string{"---"}, len(c.Columns)))
		for _, figures := range c.Figures {
			row(&b, figures)
		}
	}
	return b.String()
}

// shortName keeps org/name[@revision] and takes the last name of any other path, which is nobody else's business.
func shortName(model string) string {
	if _, ok := parseReference(model); ok {
		return model
	}
	return filepath.Base(model)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", oneLine(line))
	}
}

func row(b *strings.Builder, cells []string) {
	for _, cell := range cells {
		fmt.Fprintf(b, "| %s ", strings.ReplaceAll(oneLine(cell), "|", `\|`))
	}
	b.WriteString("|\n")
}
