import Glibc
import Primitives
import RESPFront
import RESPWire
import TieredStore

/// The files a manifest names, in the order and by the rules a server loads them (`AOFLoad`), without
/// changing any.
final class AppendOnlyCheck {
    private let directory: String
    private let manifestPath: String
    private let checkBase: (String) -> Void
    private let findings: Findings
    /// Name of the base, if it is a checkpoint.
    private var checkpoint: String?
    private var chain: CommitChain

    /// `checkBase`: checks a base that is a checkpoint.
    init(
        directory: String, file: String, _ findings: Findings, checkBase: @escaping (String) -> Void
    ) {
        self.directory = directory
        chain = CommitChain(in: directory)
        manifestPath = "\(directory)/\(file).manifest"
        self.checkBase = checkBase
        self.findings = findings
    }

    func run() {
        guard DataNames.exists(manifestPath) else { return }
        guard let bytes = FileBytes.read(manifestPath) else {
            return findings.unreadable(manifestPath, String(cString: strerror(errno)))
        }
        let manifest: AOFManifest
        do throws(AOFManifest.Failure) { manifest = try AOFManifest(bytes) } catch {
            return findings.damage(manifestPath, "line \(error.line) cannot be understood")
        }
        let parts = (manifest.base.map { [$0] } ?? []) + manifest.increments
        findings.sound(manifestPath, "\(parts.count) files")
        if manifest.isLeft { findings.note(manifestPath, "a server went on without it: it is not loaded") }
        checkpoint = manifest.checkpoint
        for i in parts.indices {
            guard check(parts[i...]) else { return }
        }
    }

    /// Checks the first of these files; false if what follows it cannot be judged.
    private func check(_ parts: ArraySlice<AOFManifest.Part>) -> Bool {
        let part = parts.first!, rest = parts.dropFirst(), path = "\(directory)/\(part.name)"
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            errno == ENOENT
                ? findings.damage(path, "the manifest names it, and it is missing")
                : findings.unreadable(path, String(cString: strerror(errno)))
            return true
        }
        defer { close(file) }
        var facts = stat()
        fstat(file, &facts)
        let byteCount = Int(facts.st_size)
        if part.name == checkpoint {
            checkBase(path)
            return true
        }
        if RDBCheck.isRDB(path) { return checkBase(path, file, byteCount, isLast: rest.isEmpty) }
        guard let first = part.first else {
            return checkPlain(path, file, from: 0, byteCount, keys: nil, isLast: rest.isEmpty)
        }
        do throws(CommitChain.Failure) {
            if try chain.begin(parts) == .restIsPassedOver { return notePassedOver(path, parts) }
        } catch { return say(error) }
        return checkCommits(part, first, file, byteCount, rest)
    }

    private func checkBase(_ path: String, _ file: Int32, _ byteCount: Int, isLast: Bool) -> Bool {
        do throws(RDBCheck.Failure) {
            let found = try RDBCheck(path)
            guard found.end < byteCount else {
                findings.sound(path, found.text)
                return true
            }
            return checkPlain(path, file, from: found.end, byteCount, keys: found.keys, isLast: isLast)
        } catch {
            error.isDamage
                ? findings.damage(path, error.description) : findings.unreadable(path, error.description)
            return true
        }
    }

    // MARK: Commits

    private func checkCommits(
        _ part: AOFManifest.Part, _ first: UInt64, _ file: Int32, _ byteCount: Int,
        _ rest: ArraySlice<AOFManifest.Part>
    ) -> Bool {
        let path = "\(directory)/\(part.name)"
        let reader = CommitReader(
            descriptor: file, number: part.number, byteCount: byteCount, expected: first)
        do throws(CommitReader.Failure) { while try reader.next() != nil {} } catch {
            say(error, path)
            return false
        }
        findings.sound(path, "\(Format.count(Double(reader.count))) commits, "
            + Format.bytes(Double(reader.offset)))
        if case .torn(let offset) = reader.end {
            findings.note(path, """
                its end is torn: with aof-load-truncated the server cuts \(byteCount - offset) bytes at byte \
                \(offset), without it does not start
                """)
        }
        do throws(CommitChain.Failure) {
            if try chain.end(reader, before: rest) == .goesOn { return true }
        } catch { return say(error) }
        return notePassedOver(path, rest)
    }

    /// Always false: nothing is left to be judged.
    private func notePassedOver(_ path: String, _ parts: ArraySlice<AOFManifest.Part>) -> Bool {
        let names = parts.map(\.name).joined(separator: ", ")
        findings.note(path, "nothing in \(names) was acknowledged as durable: the server passes it over")
        return false
    }

    private func say(_ error: CommitChain.Failure) -> Bool {
        let path = "\(directory)/\(error.name)"
        if case .unreadable(_, ENOENT) = error.reason {
            findings.damage(path, "the manifest names it, and it is missing")
        } else {
            say(error.reason, path)
        }
        return false
    }

    private func say(_ error: CommitReader.Failure, _ path: String) {
        switch error {
        case .unreadable(let offset, let code):
            findings.unreadable(path, "byte \(offset): \(String(cString: strerror(code)))")
        case .damaged(let offset):
            findings.damage(path, "commits that had been made durable, at byte \(offset)")
        case .newerVersion(let version):
            findings.unreadable(path, "it has format \(version), written by a newer tierd")
        case .gap(let found, let expected):
            findings.damage(path, """
                commits that had been made durable are missing: \(expected) is, and \(found) is there
                """)
        }
    }

    // MARK: Plain requests

    /// Requests as Redis writes them, from an offset on. False if the rest cannot be judged.
    private func checkPlain(
        _ path: String, _ file: Int32, from start: Int, _ byteCount: Int, keys: Int?, isLast: Bool
    ) -> Bool {
        guard let found = PlainRequests(file, from: start) else {
            findings.unreadable(path, String(cString: strerror(errno)))
            return true
        }
        let base = keys.map { "\(Format.count(Double($0))) keys, then " } ?? ""
        if let offset = found.malformed {
            findings.damage(path, "no request at byte \(offset)")
        } else if found.end == byteCount {
            findings.sound(path, base + "\(Format.count(Double(found.count))) requests")
        } else if isLast {
            findings.sound(path, base + "\(Format.count(Double(found.count))) requests")
            findings.note(path, """
                its end is torn: with aof-load-truncated the server cuts \(byteCount - found.end) bytes at \
                byte \(found.end), without it does not start
                """)
        } else {
            findings.damage(path, "it ends in the middle of a request, at byte \(found.end)")
        }
        return true
    }
}

/// Requests of a plain append-only file, counted.
private struct PlainRequests {
    private(set) var count = 0
    /// Behind the last request that is whole, outside a transaction.
    private(set) var end: Int
    private(set) var malformed: Int?
    private var isInTransaction = false

    /// Nil and errno: it cannot be read.
    init?(_ file: Int32, from start: Int) {
        end = start
        var limits = RequestLimits()
        limits.bulkBytes = .max
        limits.requestBytes = 0xfff0_0000
        var parser = RequestParser(limits: limits), words = WordList(capacity: 64)
        var buffer: [UInt8] = [], at = start, readTo = start
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while malformed == nil {
            let n = pread(file, &chunk, chunk.count, readTo)
            if n < 0, errno == EINTR { continue }
            if n < 0 { return nil }
            if n == 0 { return }
            readTo += n
            buffer += chunk[0..<n]
            let used = take(&buffer, at, &parser, &words)
            at += used
            buffer.removeFirst(used)
        }
    }

    /// Takes what is whole of bytes that stand at `place` of the file; how many are done with.
    private mutating func take(
        _ buffer: inout [UInt8], _ place: Int, _ parser: inout RequestParser, _ words: inout WordList
    ) -> Int {
        let available = buffer.count
        return buffer.withUnsafeMutableBytes { bytes in
            let base = bytes.baseAddress!
            var at = 0
            while at < available {
                if bytes[at] == UInt8(ascii: "#") {
                    guard let line = bytes[at...].firstIndex(of: 10) else { return at }
                    at = line + 1
                } else {
                    guard bytes[at] == UInt8(ascii: "*") else {
                        malformed = place + at
                        return at
                    }
                    words.removeAll()
                    parser.reset()
                    switch parser.parse(base, count: available, from: at, into: &words) {
                    case .incomplete: return at
                    case .failure:
                        malformed = place + at
                        return at
                    case .request(let word, let wordCount, let next):
                        let name = words.arguments(base, first: word, count: wordCount)[0]
                        if name.matches("multi") { isInTransaction = true }
                        if name.matches("exec") { isInTransaction = false }
                        count += 1
                        at = next
                    }
                }
                if !isInTransaction { end = place + at }
            }
            return at
        }
    }
}
