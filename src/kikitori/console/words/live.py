"""Words of the page *Live*."""

from __future__ import annotations

from kikitori.console.words.phrase import Phrase

WORDS = {
    "live.title": Phrase("Live captions", "リアルタイム字幕", "실시간 자막", "实时字幕"),
    "live.record": Phrase(
        "Keep each session with its audio among the tasks",
        "音声とテキストを毎回タスクに保存する",
        "세션마다 음성과 텍스트를 작업에 보관",
        "将每次会话的音频和文字保存到任务中",
    ),
    "live.own_window": Phrase(
        "Open in a window of its own", "別のウィンドウで開く", "새 창에서 열기", "在新窗口中打开"
    ),
    "live.not_allowed": Phrase(
        "This server does not show its live page inside of this console. Open it in a window of its own, or name "
        "{origin} in KIKITORI_CONSOLE_ORIGINS of the server.",
        "このサーバーは、このコンソール内でのライブページの表示を許可していません。別のウィンドウで開くか、サーバーの "
        "KIKITORI_CONSOLE_ORIGINS に {origin} を指定してください。",
        "이 서버는 이 콘솔 안에서 라이브 페이지 표시를 허용하지 않습니다. 새 창에서 열거나 서버의 "
        "KIKITORI_CONSOLE_ORIGINS에 {origin} 을 지정하세요.",
        "此服务器不允许在此控制台内显示实时页面。请在新窗口中打开，或在服务器的 "
        "KIKITORI_CONSOLE_ORIGINS 中指定 {origin}。",
    ),
    "live.history": Phrase(
        "Sessions of this browser", "このブラウザのセッション", "이 브라우저의 세션", "此浏览器的会话"
    ),
    "live.history_tab": Phrase("Sessions of this tab", "このタブのセッション", "이 탭의 세션", "此标签页的会话"),
    "live.none": Phrase(
        "What you say appears here when a session ends.",
        "セッションが終わると、ここに残ります。",
        "세션이 끝나면 여기에 남습니다.",
        "会话结束后会保留在这里。",
    ),
    "live.copy": Phrase("Copy", "コピー", "복사", "复制"),
    "live.copied": Phrase("Copied", "コピーしました", "복사됨", "已复制"),
    "live.save": Phrase("Download", "ダウンロード", "다운로드", "下载"),
    "live.remove": Phrase("Remove", "削除", "삭제", "删除"),
    "live.recorded": Phrase("among the tasks", "タスクに保存済み", "작업에 보관됨", "已保存到任务"),
}
