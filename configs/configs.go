// Package configs embeds the configuration files of this folder in the binary, and the demo's teacher and text. It only holds them;
// package config reads and unpacks them.
package configs

import "embed"

// FS holds every *.yaml file of this folder, and the folder demo. reference.yaml documents each key; the others are recipes.
//
//go:embed *.yaml demo
var FS embed.FS
