// libFuzzer entry point, built by tools/fuzz: no part of the package, compiled as one module with
// the sources of Primitives and RESPWire.
//
// Method: the first bytes choose settings and where to cut. The rest is parsed as requests whole
// and in two pieces, each piece in memory of exactly its size so that the address sanitizer sees
// any read past the end; both must find the same words. What is found is encoded and must parse to
// the same words. Then the same bytes are read as replies, whole and in pieces.

#if canImport(Glibc)
import Glibc
#endif

private struct Found: Equatable {
    var words: [[[UInt8]]] = []
    var failure: ProtocolFailure?
}

private func requests(_ pieces: [ArraySlice<UInt8>], isAuthenticated: Bool) -> Found {
    var limits = RequestLimits()
    limits.bulkBytes = 1 << 20
    var parser = RequestParser(limits: limits, isAuthenticated: isAuthenticated)
    var words = WordList(capacity: 1)
    var rest: [UInt8] = []
    var found = Found()
    for piece in pieces {
        let input = rest + piece
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, input.count), alignment: 1)
        defer { memory.deallocate() }
        memory.copyMemory(from: input, byteCount: input.count)
        var at = 0
        parsing: while true {
            switch parser.parse(memory, count: input.count, from: at, into: &words) {
            case .request(let first, let count, let end):
                precondition(end > at && end <= input.count && count > 0, "no progress")
                let arguments = words.arguments(memory, first: first, count: count)
                found.words.append((0..<count).map { arguments[$0].array })
                at = end
            case .incomplete(let start, let missing):
                precondition(start >= at && start <= input.count && missing > 0, "no progress")
                at = start
                break parsing
            case .failure(let why):
                found.failure = why
                return found
            }
        }
        words.removeAll()
        rest = Array(UnsafeRawBufferPointer(start: memory + at, count: input.count - at))
    }
    return found
}

private func replies(_ pieces: [ArraySlice<UInt8>]) -> ([Reply], ReplyParser.Failure?) {
    var parser = ReplyParser()
    var found: [Reply] = []
    for piece in pieces {
        parser.append(Array(piece))
        do throws(ReplyParser.Failure) {
            while let reply = try parser.next() { found.append(reply) }
        } catch {
            return (found, error)
        }
    }
    return (found, nil)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let data = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = data[3...]
    let cut = 3 + (Int(data[1]) << 8 | Int(data[2])) % (bytes.count + 1)
    let pieces = [bytes[..<cut], bytes[cut...]]
    let isAuthenticated = data[0] & 1 == 0

    let whole = requests([bytes], isAuthenticated: isAuthenticated)
    precondition(whole == requests(pieces, isAuthenticated: isAuthenticated), "cuts show")
    let single = (3..<count).map { data[$0...$0] }
    if bytes.count < 512 {
        precondition(whole == requests(single, isAuthenticated: isAuthenticated), "cuts show")
    }
    var encoded: [UInt8] = []
    for words in whole.words { RequestWriter.write(words, to: &encoded) }
    precondition(requests([encoded[...]], isAuthenticated: true).words == whole.words, "encoding")

    let read = replies([bytes])
    let cutRead = replies(pieces)
    // Compared as text: a nan equals no nan.
    precondition("\(read)" == "\(cutRead)", "cuts show in replies")

    bytes.withUnsafeBytes { all in
        let view = ByteView(all)
        let middle = view.count / 2
        let text = view[middle..<view.count]
        if view.count < 4096 {
            _ = Glob(view[0..<middle], ignoringCase: data[0] & 2 != 0).matches(text)
        }
        if let value = Decimal.int64(text) { precondition(String(value) == text.text, "integer") }
        _ = Decimal.double(text)
        _ = Decimal.longDouble(text)
    }
    return 0
}
