package kernel

// multiplyPortable is the twin of the assembly, with strips of up to 4 rows of A and panels of 4 columns.
func multiplyPortable[F Float](m, rows, k, n int, a []F, rs, cs int, b panels[F], add bool, c []F, ldc int) {
	for i := 0; i < m; i += rows {
		stripPortable(min(rows, m-i), k, n, a[i*rs:], rs, cs, b, add, c[i*ldc:], ldc)
	}
}

func stripPortable[F Float](rows, k, n int, a []F, rs, cs int, b panels[F], add bool, c []F, ldc int) {
	for j := 0; j < n; j += 4 {
		var t [4][4]F
		panel := b.b[j/4*b.step:]
		switch {
		case rows == 4 && n-j >= 4:
			t = tile4x4(k, a, rs, cs, panel, b.stride)
		default:
			for i := range rows {
				for l := range min(4, n-j) {
					var s F
					for p := range k {
						s += a[i*rs+p*cs] * panel[p*b.stride+l]
					}
					t[i][l] = s
				}
			}
		}
		for i := range rows {
			row := c[i*ldc+j:][:min(4, n-j)]
			for l := range row {
				if add {
					row[l] += t[i][l]
				} else {
					row[l] = t[i][l]
				}
			}
		}
	}
}

func tile4x4[F Float](k int, a []F, rs, cs int, b []F, stride int) [4][4]F {
	var c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33 F
	a0, a1, a2, a3 := a, a[rs:], a[2*rs:], a[3*rs:]
	for p := range k {
		x0, x1, x2, x3 := a0[p*cs], a1[p*cs], a2[p*cs], a3[p*cs]
		y := b[p*stride:][:4]
		y0, y1, y2, y3 := y[0], y[1], y[2], y[3]
		c00 += x0 * y0
		c01 += x0 * y1
		c02 += x0 * y2
		c03 += x0 * y3
		c10 += x1 * y0
		c11 += x1 * y1
		c12 += x1 * y2
		c13 += x1 * y3
		c20 += x2 * y0
		c21 += x2 * y1
		c22 += x2 * y2
		c23 += x2 * y3
		c30 += x3 * y0
		c31 += x3 * y1
		c32 += x3 * y2
		c33 += x3 * y3
	}
	return [4][4]F{{c00, c01, c02, c03}, {c10, c11, c12, c13}, {c20, c21, c22, c23}, {c30, c31, c32, c33}}
}
