import Primitives
import TieredStore

/// What the server began with, and its checkpoints, for INFO. Set while no loop runs.
public struct RecoveryFacts: Sendable {
    public enum Source: String, Sendable { case none, checkpoint, rdb, aof, log }

    public var source = Source.none
    public var milliseconds: Int64 = 0
    /// Keys of the checkpoint that was loaded, or of the last one written.
    public var checkpointKeys = 0
    /// Of the last one written; -1: none was.
    public var checkpointMilliseconds: Int64 = -1

    public init() {}
}

extension ServerState {
    /// Sources of the libraries of functions, by name.
    public var librarySources: [[UInt8]] { libraries.known.sorted.map(\.text) }

    /// Adds a library, in place of that of the same name. Before loops run, or on the first.
    /// Errors: what is wrong with it.
    public func restore(library text: [UInt8]) throws(CommandError) {
        let result = text.withView { view in
            Result { () throws(CommandError) in try self.restore(library: view) }
        }
        try result.get()
    }

    func restore(library text: ByteView) throws(CommandError) {
        let library = try fronts[0].scripts.load(library: text, Library.Header(text))
        try libraries.add(library, replacing: true)
    }
}
