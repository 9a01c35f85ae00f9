import ArgumentParser

/// tierctl: shows what a running tierd is doing, checks its files offline, and backs them up.
@main
struct TierCtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tierctl", abstract: "Shows what tierd is doing, checks its files, and backs them up.",
        subcommands: [Stats.self, Inspect.self, Verify.self, Backup.self, Restore.self])
}
