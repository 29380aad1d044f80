//! The program itself, as its users run it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a start may take: only a test that would fail waits so long.
const START_MAX: Duration = Duration::from_secs(120);

/// `keystile serve` in a process of its own, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `127.0.0.1:port`.
    pub address: String,
    /// Lines of its log as they come.
    log: mpsc::Receiver<String>,
    /// Lines that were taken from it.
    seen: Vec<String>,
}

impl Process {
    /// A command of the program without any of our environment's settings.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystile"));
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("KEYSTILE_") || name_text == "DATABASE_URL" {
                command.env_remove(&name);
            }
        }
        // Several run on this machine.
        command.env("KEYSTILE_OPS_LISTEN", "127.0.0.1:0");
        command
    }

    /// Runs a command to its end.
    pub fn run(mut command: Command) -> Output {
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Starts `keystile serve` with these settings on a free port, and returns when it serves.
    pub fn serve(settings: &[(&str, &str)]) -> Self {
        let mut process = Self::start(settings);
        process.wait_for_message("serving");
        process
    }

    /// The same, and returns when it listens: it may not serve yet.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = Self::command();
        command.arg("serve").env("KEYSTILE_LISTEN", "127.0.0.1:0").env("KEYSTILE_LOG_FORMAT", "json");
        command.env("KEYSTILE_DRAIN_DELAY", "0s");
        command.envs(settings.iter().copied());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut process = Self { child, address: String::new(), log, seen: Vec::new() };
        let listening = process.wait_for_message("listening; the service is starting");
        process.address = listening["address"].as_str().unwrap().to_owned();
        process
    }

    /// The next line of the log with this message.
    pub fn wait_for_message(&mut self, message: &str) -> serde_json::Value {
        let message = format!("\"message\":\"{message}\"");
        serde_json::from_str(&self.wait_for_log(|line| line.contains(&message))).unwrap()
    }

    /// The next line of the log that fits; fails when the process ends without it.
    pub fn wait_for_log(&mut self, fits: impl Fn(&str) -> bool) -> String {
        let from = self.seen.len();
        loop {
            match self.log.recv_timeout(START_MAX) {
                Ok(line) => {
                    let is_it = fits(&line);
                    self.seen.push(line.clone());
                    if is_it {
                        return line;
                    }
                }
                Err(error) => panic!("{error}; the log so far: {:#?}", &self.seen[from..]),
            }
        }
    }

    /// Its operations port.
    pub fn ops(&self) -> String {
        let lines = self.seen.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut ports = lines.filter(|line| line["message"] == "operations port");
        ports.next().expect("it said where")["address"].as_str().unwrap().to_owned()
    }

    /// SIGTERM, and every line of its log.
    pub fn terminate_for_log(mut self) -> Vec<String> {
        assert!(self.terminate().success());
        let mut lines = std::mem::take(&mut self.seen);
        // Ends with the process.
        lines.extend(self.log.iter());
        lines
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit, which something else brings about.
    pub fn exit(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and its exit.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// What it logs from now to its end.
    pub fn rest_of_log(&mut self) -> Vec<String> {
        self.log.iter().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
