import Glibc
import TieredStore

/// The increments a manifest names, one after the other: which commit each must begin with, and whether
/// commits that are missing between two of them may be. For who loads them and for `tierctl verify`.
///
/// Missing commits are no damage if no later one says that they had been durable: then what follows them was
/// not acknowledged as durable either, and is passed over.
public struct CommitChain {
    /// Why the files cannot be used; `name`: of the one that says so.
    public struct Failure: Error {
        public let name: String
        public let reason: CommitReader.Failure
    }

    public enum Verdict { case goesOn, restIsPassedOver }

    private let directory: String
    /// Sequence of the next commit, once one is known.
    public private(set) var expected: UInt64?

    public init(in directory: String) { self.directory = directory }

    /// Whether the first of these files may be read now, or it and those behind it are passed over.
    public func begin(_ parts: ArraySlice<AOFManifest.Part>) throws(Failure) -> Verdict {
        guard let expected, let first = parts.first?.first, first != expected else { return .goesOn }
        return try judge(expected, parts)
    }

    /// A file was read to its end. Whether those behind it go on where it ended, or are passed over.
    public mutating func end(
        _ reader: CommitReader, before rest: ArraySlice<AOFManifest.Part>
    ) throws(Failure) -> Verdict {
        expected = reader.expected
        guard case .torn = reader.end, let next = rest.first, next.first != expected else { return .goesOn }
        return try judge(expected ?? 1, rest)
    }

    /// The commit `missing` does not stand before these files.
    private func judge(
        _ missing: UInt64, _ parts: ArraySlice<AOFManifest.Part>
    ) throws(Failure) -> Verdict {
        for part in parts where part.kind == .increment {
            do throws(CommitReader.Failure) {
                if try proves(missing, part) { throw .gap(found: part.first ?? 0, expected: missing) }
            } catch { throw Failure(name: part.name, reason: error) }
        }
        return .restIsPassedOver
    }

    private func proves(_ missing: UInt64, _ part: AOFManifest.Part) throws(CommitReader.Failure) -> Bool {
        let file = open("\(directory)/\(part.name)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw .unreadable(offset: 0, errno: errno) }
        defer { close(file) }
        var facts = stat()
        let size = fstat(file, &facts) == 0 ? Int(facts.st_size) : 0
        return try CommitReader(descriptor: file, number: part.number, byteCount: size, expected: nil)
            .proves(missing)
    }
}
