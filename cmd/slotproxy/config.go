package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"slotproxy/internal/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and print configurations",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configCheckCommand(), configPrintCommand())
	return cmd
}

func configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration file; exit code 3 if anything is",
		Long: "Reads FILE and the environment as serve would, and tells every mistake with its place.\n" +
			"It opens no socket and asks no node.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(config.Sources{File: args[0], Env: os.Environ()})
			if err != nil {
				return &exitError{exitConfig, err}
			}
			if _, err := loadTLS(c); err != nil {
				return fail(exitConfig, "%s: %w", args[0], err)
			}
			for _, w := range c.Warnings {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "warning: %s\n", w); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is fine\n", args[0])
			return err
		},
	}
}

func configPrintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration in effect, each value with where it comes from",
		Long: "Prints what serve would use, given the same file, environment and flags. Secrets are masked.\n" +
			"With --defaults: every setting with its default, its meaning and its reason, as a file to start from.",
		Args: cobra.NoArgs,
	}
	var defaults, effective bool
	flags := addSettings(cmd)
	cmd.Flags().BoolVar(&defaults, "defaults", false, "Print the defaults with their reasons.")
	cmd.Flags().BoolVar(&effective, "effective", false, "Print the values in effect (the default of this command).")
	cmd.MarkFlagsMutuallyExclusive("defaults", "effective")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if defaults {
			return config.WriteSample(cmd.OutOrStdout())
		}
		c, err := config.Load(flags.sources(nil))
		if err != nil {
			return &exitError{exitConfig, err}
		}
		return c.WriteEffective(cmd.OutOrStdout())
	}
	return cmd
}
