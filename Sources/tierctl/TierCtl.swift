import ArgumentParser

/// tierctl: shows what a running tierd is doing, and reads tier files offline.
@main
struct TierCtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tierctl", abstract: "Shows what tierd is doing, and reads its tier files.",
        subcommands: [Stats.self, Inspect.self, Verify.self])
}
