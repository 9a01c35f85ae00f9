import Glibc

/// Requests somebody's clients made, in their order.
///
/// Shape: a CSV file, plain or .gz, whose first line names the columns. Of these `key` (or `lbn`, `obj_id`)
/// must be there; `size` in bytes, `op` and `time` may be. `op` is a write if it is "set", "write", "w" or
/// the SCSI opcode 2a; all else is a read. `time` is in microseconds, or in the unit of the option.
struct Trace: Sendable {
    struct Request: Sendable {
        var key: Int32
        /// -1: as the option --size says.
        var size: Int32
        var isWrite: Bool
        /// Nanoseconds since the first.
        var due: UInt64
    }

    private(set) var requests: [Request] = []
    private(set) var keyCount = 0
    private(set) var hasTimes = false

    struct Unreadable: Error { let text: String }

    init(path: String, nanosecondsPerUnit: Double) throws(Unreadable) {
        guard access(path, R_OK) == 0 else { throw Unreadable(text: "\(path): cannot be read") }
        setenv("TIERLOAD_TRACE", path, 1)
        let program = path.hasSuffix(".gz") ? "gzip -dc" : "cat"
        guard let file = popen("exec \(program) \"$TIERLOAD_TRACE\"", "r") else {
            throw Unreadable(text: "cannot start \(program)")
        }
        defer { pclose(file) }
        guard let header = Trace.line(file) else { throw Unreadable(text: "\(path): no first line") }
        let columns = try Columns(header, path)
        hasTimes = columns.time != nil
        var numbers: [Substring: Int32] = [:], first: Double?
        while let line = Trace.line(file) {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count == columns.count else {
                throw Unreadable(
                    text: "\(path):\(requests.count + 2): \(fields.count) columns, not \(columns.count)")
            }
            let name = fields[columns.key]
            let key = numbers[name] ?? Int32(numbers.count)
            numbers[name] = key
            let time = columns.time.flatMap { Double(fields[$0]) } ?? 0
            first = first ?? time
            requests.append(
                Request(
                    key: key, size: columns.size.flatMap { Int32(fields[$0]) }.map { max(1, $0) } ?? -1,
                    isWrite: columns.op.map { Trace.isWrite(fields[$0]) } ?? false,
                    due: UInt64(max(0, (time - (first ?? 0)) * nanosecondsPerUnit))))
        }
        keyCount = numbers.count
        guard keyCount > 0 else { throw Unreadable(text: "\(path): no requests") }
    }

    private struct Columns {
        var key = 0
        var size: Int?, op: Int?, time: Int?
        var count = 0

        init(_ header: String, _ path: String) throws(Unreadable) {
            let names = header.split(separator: ",", omittingEmptySubsequences: false).map { name in
                name.filter { $0 != " " && $0 != "\"" }.lowercased()
            }
            func find(_ wanted: [String]) -> Int? { names.firstIndex { wanted.contains($0) } }
            guard let key = find(["key", "lbn", "obj_id", "id"]) else {
                throw Unreadable(text: "\(path): no column key, lbn or obj_id in '\(header)'")
            }
            self.key = key
            size = find(["size", "obj_size"])
            op = find(["op", "operation"])
            time = find(["time", "timestamp"])
            count = names.count
        }
    }

    private static func isWrite(_ op: Substring) -> Bool {
        ["set", "write", "w", "2a", "put", "add"].contains(op.lowercased())
    }

    private static func line(_ file: UnsafeMutablePointer<FILE>) -> String? {
        var buffer: UnsafeMutablePointer<CChar>?, room = 0
        defer { free(buffer) }
        let count = getline(&buffer, &room, file)
        guard count > 0, let buffer else { return nil }
        let text = UnsafeRawBufferPointer(start: buffer, count: count)
        return String(decoding: text.prefix { $0 != 10 && $0 != 13 }, as: UTF8.self)
    }
}
