// Every word of the page, in both languages. Sentences about files and errors come from the server (`/codes`).
const WORDS = {
  skip: ["To the content", "跳到正文"],
  title: ["Chest X-ray pneumonia detector", "胸部 X 光肺炎检测"],
  language: ["Language", "语言"], theme: ["Colours", "配色"], auto: ["automatic", "自动"], light: ["light", "浅色"], dark: ["dark", "深色"], docs: ["API", "接口文档"],
  notice: ["Research tool, not a medical device. A verdict is no diagnosis; have every image read by a physician.", "本工具仅供研究，不是医疗器械。结果不构成诊断，所有影像须由医师判读。"],
  privacy: ["Images go to this server only, are judged in memory, and are not kept.", "图像只发送到本服务器，仅在内存中处理，不会保存。"],
  drop: ["Drop chest X-rays here", "将胸部 X 光片拖到此处"], kinds: ["JPEG, PNG, TIFF, BMP, WebP or DICOM; one, or hundreds.", "支持 JPEG、PNG、TIFF、BMP、WebP 和 DICOM，可一次选择多个文件。"],
  choose: ["Choose files", "选择文件"], samples: ["Or try a sample", "或试用示例"], sample: ["Sample", "示例"], stop: ["Stop", "停止"],
  progress: ["{done} of {all} judged", "已完成 {done} / {all}"], finished: ["Files: {all}; {pneumonia} pneumonia, {normal} normal, {failed} not judged", "共 {all} 个文件：肺炎 {pneumonia}，正常 {normal}，未能判断 {failed}"],
  counts: ["Files: {all} · {pneumonia} pneumonia · {normal} normal · {refer} for a reader · {failed} not judged", "共 {all} 个文件 · 肺炎 {pneumonia} · 正常 {normal} · 建议人工判读 {refer} · 未能判断 {failed}"],
  viewer: ["X-ray with heat map", "X 光片与热图"], keys: ["Plus and minus zoom, arrows move, zero resets.", "加减键缩放，方向键移动，数字键 0 复位。"],
  opacity: ["Heat map", "热图"], window: ["Window", "窗宽"], level: ["Level", "窗位"], zoom_in: ["Zoom in", "放大"], zoom_out: ["Zoom out", "缩小"], reset: ["Reset", "复位"], side: ["Side by side", "并排对照"],
  maps: ["The heat map shows what the model used, not where disease is. Its brightness is relative to the strongest place of this image.", "热图显示模型所依据的区域，并不表示病灶位置；亮度以本图最强处为准。"], no_map: ["No place of this image speaks for pneumonia, so the map is empty.", "图像中没有支持肺炎的区域，热图为空。"],
  all: ["All files", "全部文件"], search: ["Search by name", "按名称搜索"], show: ["Show", "显示"], everything: ["everything", "全部"], only_refer: ["for a reader", "建议人工判读"], only_quality: ["quality warnings", "有质量提示"], only_failed: ["not judged", "未能判断"],
  csv: ["CSV", "导出 CSV"], print: ["Print report", "打印报告"], clear: ["Clear", "清空"],
  file: ["File", "文件"], verdict: ["Verdict", "结果"], probability: ["Probability of pneumonia", "肺炎概率"], quality: ["Image quality", "图像质量"], good: ["good", "良好"],
  point: ["operating point {t}", "判定阈值 {t}"], refer: ["Refer to a reader", "建议人工判读"],
  why_refer: ["At this probability the detector is not sure enough: its limits were learned on validation, for {c} % coverage of each class.", "在该概率下模型把握不足：界限由验证集确定，每类覆盖率为 {c}%。"],
  warnings: ["This image may not be fit to be judged:", "该图像可能不适合判读："],
  model: ["Model", "模型"], rule: ["Operating point by", "阈值选定方法"], time: ["Time", "用时"], seconds: ["{s} s", "{s} 秒"],
  tested: ["On the official test set (threshold chosen on validation): ", "官方测试集表现（阈值由验证集选定）："], auroc: ["AUROC", "AUROC"], sensitivity: ["sensitivity", "灵敏度"], specificity: ["specificity", "特异度"], accuracy: ["accuracy", "准确率"],
  waiting: ["waiting", "等待中"], sending: ["sending", "上传中"], judging: ["judging", "判断中"], stopped: ["stopped", "已停止"], network: ["the server did not answer", "服务器没有响应"], retry: ["Try again", "重试"],
  no_picture: ["This browser cannot show this file; the picture comes with the verdict.", "浏览器无法显示该文件，图像将随结果一起返回。"],
  key_title: ["This server asks for a key", "该服务器需要密钥"], key: ["API key", "API 密钥"], enter: ["Enter", "确定"], wrong_key: ["This key was not accepted.", "密钥无效。"], folder: ["this is a folder or cannot be read; choose the files in it", "这是文件夹或无法读取，请选择其中的文件"], error: ["Error", "错误"],
  privacy_kept: ["Images go to this server only, are judged in memory, and are not kept unless you save a reading.", "图像只发送到本服务器，仅在内存中处理；除非您保存判读，否则不会保存。"],
  reading: ["Your reading", "您的判读"], UNSURE: ["Unsure", "不确定"], later: ["Keep, read later", "保存，稍后判读"], comment: ["Comment", "备注"], no_names: ["optional; no names", "可选；请勿填写姓名"],
  reader: ["Your name or sign", "判读者"], patient: ["Patient number", "患者编号"], optional: ["optional", "可选"], pseudonym: [" Of the patient number only a pseudonym is stored.", "患者编号仅以假名保存。"],
  keeps: ["Pressing a button keeps the image on this server, without file name and header, and with what you write here.", "点击按钮后，图像（不含文件名和文件头信息）及您填写的内容将保存在本服务器上。"],
  saving: ["saving …", "正在保存…"], saved: ["Saved.", "已保存。"], undo: ["Undo", "撤销"], undone: ["Removed from the server.", "已从服务器删除。"], taken_back: ["Your last reading was taken back.", "已撤回您的上一次判读。"], not_saved: ["Not saved:", "未保存："],
  burned_in: [" The picture seems to hold text; look before sharing it.", "图像中似乎有文字，分享前请检查。"],
  PNEUMONIA: ["Pneumonia", "肺炎"], NORMAL: ["Normal", "正常"], report: ["Chest X-ray screening report", "胸部 X 光筛查报告"],
};

export const LANGS = ["en", "zh"];
let lang = "en";
export const language = () => lang;

export function speak(to) {  // every element that has a word gets it in this language
  lang = LANGS.includes(to) ? to : "en";
  document.documentElement.lang = lang;
  document.title = word("title");
  for (const e of document.querySelectorAll("[data-t]")) e.textContent = word(e.dataset.t);
  for (const e of document.querySelectorAll("[data-t-label]")) e.setAttribute("aria-label", word(e.dataset.tLabel));
  for (const e of document.querySelectorAll("[data-t-placeholder]")) e.placeholder = word(e.dataset.tPlaceholder);
}

export function word(key, facts = {}) {
  return WORDS[key][LANGS.indexOf(lang)].replace(/\{(\w+)\}/g, (_, k) => facts[k]);
}
