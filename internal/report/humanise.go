package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Duration writes d for people: 45s, 3m05s, 2h07m, 3d04h; below ten seconds 4.2s, below a tenth of one 42ms.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d > 0 && d < 99500*time.Microsecond:
		return fmt.Sprintf("%.0fms", 1e3*d.Seconds())
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
}

// Count writes a number of things with three digits: 999, 1.23k, 45.6M, 7.89B.
func Count(n int64) string {
	return scaled(float64(n), 1000, []string{"", "k", "M", "B", "T"})
}

// Bytes writes a size in memory or on disk with three digits: 512 B, 1.50 KiB, 2.34 GiB.
func Bytes(n int64) string {
	return scaled(float64(n), 1024, []string{" B", " KiB", " MiB", " GiB", " TiB"})
}

func scaled(x, base float64, units []string) string {
	if x < 0 {
		return "-" + scaled(-x, base, units)
	}
	u := 0
	for ; u < len(units)-1 && x >= base*0.9995; u++ {
		x /= base
	}
	if u == 0 {
		return strconv.FormatFloat(x, 'f', 0, 64) + units[0]
	}
	decimals := 2
	if x >= 99.95 {
		decimals = 0
	} else if x >= 9.995 {
		decimals = 1
	}
	return strconv.FormatFloat(x, 'f', decimals, 64) + units[u]
}

// Table writes rows in aligned columns; the first row is the header.
func Table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}
