import Primitives

/// Whether values are worth an attempt to compress them: after many in a row that were not, few are tried
/// until one is again.
///
/// Why: LZ4 takes half a microsecond to find out that 500 random bytes are random, as much as all the rest of
/// a record does.
struct Compression {
    /// Attempts in vain since the last that paid, up to `patience`.
    private var failures = 0
    /// Values left untried since the last attempt.
    private var untried = 0

    private static let patience = 32
    /// Of so many values one is tried when patience is lost.
    private static let interval = 16

    /// As `Record.compose`.
    mutating func compose(_ content: Record.Content, at target: UnsafeMutableRawPointer) -> Int {
        guard content.value.count >= Record.compressionStart
        else { return Record.compose(content, at: target) }
        untried += 1
        guard failures < Compression.patience || untried >= Compression.interval
        else { return Record.compose(content, at: target, compresses: false) }
        untried = 0
        let length = Record.compose(content, at: target)
        let pays = Record(target).flags & Record.compressed != 0
        failures = pays ? 0 : min(Compression.patience, failures + 1)
        return length
    }
}
