import Glibc

/// CPU time processes have used.
enum ProcessorTime {
    /// Microseconds in user and in system mode of a process with all its threads.
    static func of(pid: Int) -> (user: Double, system: Double) {
        guard pid != 0, let file = fopen("/proc/\(pid)/stat", "r") else { return (0, 0) }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 1024)
        fgets(&line, 1024, file)
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let end = text.lastIndex(of: ")") else { return (0, 0) }
        let fields = text[end...].split(separator: " ")
        let tick = 1e6 / Double(sysconf(Int32(_SC_CLK_TCK)))
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            return (0, 0)
        }
        return (user * tick, system * tick)
    }

    /// The same of this process.
    static func own() -> (user: Double, system: Double) {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func microseconds(_ time: timeval) -> Double { Double(time.tv_sec) * 1e6 + Double(time.tv_usec) }
        return (microseconds(usage.ru_utime), microseconds(usage.ru_stime))
    }
}
